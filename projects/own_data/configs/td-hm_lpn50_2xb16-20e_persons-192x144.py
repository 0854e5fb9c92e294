_base_ = ['lpn_mmpose::body_2d_keypoint/lpn/body19/td-hm_lpn50_2xb16-60e_body19-192x144.py']

# runtime: from the shipped weights, which find 19 keypoints
load_from = 'lpn_mmpose/weights/lpn50_body19-192x144.pth'
train_cfg = dict(max_epochs=20, val_interval=2)

# learning policy
optim_wrapper = dict(optimizer=dict(lr=3e-4))
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        begin=0,
        end=1,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=0,
        begin=0,
        end=20,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]

# hooks: averaged over the last 50 iterations, of which there may be a hundred in all
custom_hooks = _base_.custom_hooks
custom_hooks[1].momentum = 0.02

# data loaders: COCO's 17 keypoints; head and neck are not labelled, and have no weight
persons_train = dict(
    _base_.coco_train,
    data_root='data/persons/',
    ann_file='train.json',
    data_prefix=dict(img='train/'),
)
persons_val = dict(persons_train, ann_file='val.json', data_prefix=dict(img='val/'), test_mode=True)
train_dataloader = dict(
    dataset=dict(names=['persons'], datasets=[persons_train], sample_ratio_factor=[1])
)
val_dataloader = dict(dataset=dict(names=['persons'], datasets=[persons_val]))
test_dataloader = val_dataloader
