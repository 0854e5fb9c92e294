_base_ = '../../../configs/body_2d_keypoint/lpn/body19/td-hm_lpn50_2xb16-60e_body19-128x128.py'

# a quarter of margin around the boxes, as MMPose has it: the first two runs
train_pipeline = _base_.train_pipeline
train_pipeline[1].padding = 1.25
train_pipeline[4].scale_factor = (0.7, 1.35)
val_pipeline = _base_.val_pipeline
val_pipeline[1].padding = 1.25
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader
