_base_ = '../../../configs/body_2d_keypoint/lpn/lspet/td-hm_lpn50_1xb32-60e_lspet-128x128.py'

# a short one, so that the learning rate ends at zero
train_cfg = dict(max_epochs=3, val_interval=1)
randomness = dict(seed=8)
optim_wrapper = dict(optimizer=dict(lr=0.0003))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(
        type='CosineAnnealingLR',
        eta_min=4e-06,
        begin=0,
        end=3,
        T_max=3,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
load_from = 'work_dirs/stage7_128px/epoch_12.pth'

# averaged over about half an epoch of 500 iterations
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(
        type='EMAHook',
        ema_type='ExponentialMovingAverage',
        momentum=0.004,
        update_buffers=True,
        priority=49,
    ),
]

train_dataloader = dict(batch_size=16, num_workers=1)
